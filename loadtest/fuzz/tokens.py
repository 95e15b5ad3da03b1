"""Words that formats know, and references that a reader must not follow."""

from __future__ import annotations

#: Types of boxes; `_` stands for a space.
MP4 = (
    b"ftyp moov mvhd trak tkhd mdia mdhd hdlr minf vmhd smhd dinf dref url_ urn_ alis stbl stsd stts "
    b"ctts stss stsz stz2 stsc stco co64 sbgp sgpd edts elst udta meta ilst keys covr moof mfhd traf "
    b"tfhd tfdt trun mvex trex sidx ssix mfra tfra senc saiz saio sinf frma schm schi tenc pssh uuid "
    b"free skip wide mdat avc1 avcC hvc1 hvcC av01 av1C vp09 vpcC mp4a esds tx3g tmcd text sbtl rmra "
    b"rmda rdrf iloc iinf iprp ipco ispe pitm qt__ isom iso6 mp42 M4V_ 3gp4 crx_ heic avif chap gmhd "
    b"cmov dcom cmvd zlib"
)
#: Identities of elements.
EBML = (
    "1a45dfa3 18538067 1f43b675 1654ae6b ae d7 83 86 63a2 e0 b0 ba e1 b5 9f a3 a0 a1 9b e7 1c53bb6b bb "
    "b3 b7 114d9b74 4dbb 53ab 53ac 1941a469 61a7 465c 6d80 6240 5031 5032 4254 4255 1254c367 1043a770 "
    "ec bf 01ffffffffffffff ff 22b59c 2ad7b1 4489 23e383 7ba9 55b0 7670 53c0 9a fb a6 ee"
)
#: Types of chunks.
RIFF = (
    b"RIFF RIFX RF64 LIST WAVE AVI_ fmt_ data fact hdrl avih strl strh strf indx ix00 movi idx1 00dc "
    b"01wb 00db rec_ odml dmlh vprp JUNK bext iXML ds64 id3_ INFO"
)
OTHERS = (
    *(b"OggS", b"\x01vorbis", b"\x03vorbis", b"\x05vorbis", b"OpusHead", b"OpusTags", b"\x80theora", b"fLaC"),
    *(
        b"Speex   ",
        b"fishead\x00",
        b"FLV\x01\x05",
        b"onMetaData",
        b"ID3\x04\x00\x00",
        b"APIC",
        b"TAG",
        b"Xing",
    ),
    *(
        b"\x47\x40\x00\x10",
        b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3",
        b"\x00\x00\x01\xe0",
        b"\x00\x00\x00\x01\x67",
    ),
    *(
        b"\x00\x00\x00\x01\x68",
        b"\x00\x00\x00\x01\x65",
        b"\xff\xf1",
        b"\xff\xfb",
        b"\x0b\x77",
        b"#!AMR\n",
        b"MTV",
    ),
    *(
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
        b".RMF",
        b"DKIF",
        b"TTA1",
        b"MAC ",
    ),
    *(
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xe1",
        b"Exif\x00\x00",
        b"\xff\xc0",
        b"\xff\xc4",
        b"\xff\xda",
        b"IHDR",
    ),
    *(
        b"IDAT",
        b"iCCP",
        b"zTXt",
        b"acTL",
        b"fdAT",
        b"GIF89a",
        b"BM",
        b"II*\x00",
        b"MM\x00*",
        b"\x00\x00\x01\x00",
    ),
    *(
        b"VP8X",
        b"VP8 ",
        b"VP8L",
        b"ANMF",
        b"ALPH",
        b"caff",
        b"FORM",
        b"AIFC",
        b".snd",
        b"riff\x2e\x91\xcf\x11",
    ),
    *(
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
        b"WEBVTT\n\n",
        b"1\n00:00:00,000 --> 00:00:09,000\n",
        b"[Events]\n",
    ),
    *(
        b"[Script Info]\n",
        b"<sync start=0>",
        b"{1}{100}",
        b"-->",
        b"99:99:99.999",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ),
)
#: Numbers at which arithmetic of 8, 16, 32 or 64 bits goes over.
NUMBERS = tuple(
    number.to_bytes(size, order)
    for size in (2, 4, 8)
    for number in (
        0,
        1,
        (1 << 8 * size - 1) - 1,
        1 << 8 * size - 1,
        (1 << 8 * size) - 1,
        (1 << 8 * size) - 16,
    )
    for order in ("big", "little")
)


def references(path: str, address: str) -> tuple[bytes, ...]:
    """Ways in which media names another file, here the one at `path`, or an address, here HOST:PORT."""
    url = f"http://{address}/x"
    port = address.rpartition(":")[2]
    texts = (
        path,
        f"file:{path}",
        f"file://{path}",
        url,
        f"tcp://{address}",
        f"udp://{address}",
        f"rtmp://{address}/x",
        f"rtsp://{address}/x",
        f"concat:{path}|{path}",
        f"subfile,,start,0,end,9,,:{path}",
        f"crypto:{path}",
        f"cache:{url}",
        f"async:{path}",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{path}"\n#EXT-X-MAP:URI="{url}"\n#EXTINF:1,\n{url}\n',
        f"ffconcat version 1.0\nfile '{path}'\nfile {url}\n",
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<image xlink:href="file://{path}"/><image xlink:href="{url}"/></svg>',
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
        f"[playlist]\nFile1={path}\nFile2={url}\n",
        f"{{0}}{{25}}{{f:{path}}}",
        f"%!PS\n({path}) run\n",
    )
    named = tuple(text.encode() for text in texts)
    # QuickTime data references that stand outside of the file
    box = b"url \x00\x00\x00\x00" + url.encode() + b"\x00"
    alias = b"alis\x00\x00\x00\x00" + path.encode() + b"\x00"
    return (*named, *((len(kind) + 4).to_bytes(4, "big") + kind for kind in (box, alias)))


def dictionary(path: str, address: str) -> tuple[bytes, ...]:
    """All words, and those references."""
    words = (word.replace(b"_", b" ") for word in (*MP4.split(), *RIFF.split()))
    return (*words, *map(bytes.fromhex, EBML.split()), *OTHERS, *NUMBERS, *references(path, address))
